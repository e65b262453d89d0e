"""Floor 3: one module a stage, its unit of work as a plain function and its Prefect task beside it."""
