"""Published results repeated: what they are, what that takes, and what came of it beside what was published."""
