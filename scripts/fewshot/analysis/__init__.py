"""From row predictions to metrics, comparisons and costs, without torch."""
