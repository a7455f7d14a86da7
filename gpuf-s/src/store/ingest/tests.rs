//! What a batch changes, whatever it holds and however often it comes.
