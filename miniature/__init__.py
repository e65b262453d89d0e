"""The embedded default: a captioned world of scenes, the small models trained on it, and how they were trained."""
