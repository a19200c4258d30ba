"""The protocol of the main job, and the scikit-learn style estimators."""
