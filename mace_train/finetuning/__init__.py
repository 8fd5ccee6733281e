"""Fine-tuning: what a user with a foundation model and a few frames of their own needs."""
