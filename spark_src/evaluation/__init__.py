"""Quality of the vectors, duplicates, label issues, similarity search, and the classifier."""
