"""What tests share: fixtures by concern, fakes, samples and waiting."""
