"""What a run writes about itself: job log, trace, report."""
