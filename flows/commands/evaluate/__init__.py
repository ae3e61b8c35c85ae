"""`millrace eval`: how well the index answers, by known items or by labelled questions."""
