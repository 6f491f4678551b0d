"""Networks, data and reports that several tests share."""
