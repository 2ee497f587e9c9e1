"""What vectors of terms and codes say: neighbours, agreement with human scores and with the hierarchy, a map."""
