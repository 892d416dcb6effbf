"""What becomes of many items as one value, part by part: in the workers first, and merged afterwards."""
