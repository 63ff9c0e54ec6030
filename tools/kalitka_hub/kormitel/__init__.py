"""The exchange with Kormitel, a festival's canteen system: who eats, told both ways."""
