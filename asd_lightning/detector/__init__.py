"""A machine's detector in use: what is promised of its alarms, and when it has to say that it cannot judge."""
