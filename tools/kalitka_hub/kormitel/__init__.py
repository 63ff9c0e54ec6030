"""The exchange with Kormitel, a festival's canteen system: badges and arrivals, both ways."""
