"""The masking rules and the keyed pseudonyms. Pure: no driver, clock, file or network."""
