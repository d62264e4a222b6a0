"""Live looks at a run for a person: facts go in, nothing comes back."""
