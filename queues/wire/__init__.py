"""The form of messages: subjects, headers, bodies, and the checks of what comes in. No connection."""
