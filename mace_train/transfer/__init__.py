"""What is taken over from a parent model: changes of a model that keep its predictions."""
