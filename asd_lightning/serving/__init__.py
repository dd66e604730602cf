"""A detector over HTTP: an API, a page in the browser, and limits that hold against whoever sends what."""
