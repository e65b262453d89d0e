"""What a study is: its configuration, its list of stages, what it holds, and how it is read, published and revised."""
