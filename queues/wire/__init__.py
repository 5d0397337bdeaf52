"""What messages look like: subjects, headers, bodies, and the checks of what comes in. No connection."""
