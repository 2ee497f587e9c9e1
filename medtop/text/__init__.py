"""Texts to words, word pieces, sentences and windows, with their places in the text."""
