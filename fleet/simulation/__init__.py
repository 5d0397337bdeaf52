"""Scenarios, recorded runs, figures and plots of `fleet simulate`; the simulation itself is `policies.simulation`."""
