"""From jobs to machines and back, on pretend GPU machines."""
