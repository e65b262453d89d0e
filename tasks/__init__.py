"""Floor 3: one module a stage, its work as a plain function; around them the one Prefect task, runner and progress."""
