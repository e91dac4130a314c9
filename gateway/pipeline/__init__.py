"""What happens to columns between a source and the journal: report by exception, deadband."""
