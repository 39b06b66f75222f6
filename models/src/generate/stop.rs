//! Texts at which to stop, in text that arrives a few characters at a time.
//!
//! Invariant: what has been given out, joined, is the text up to the first place where a stop string begins.

/// Holds back what may be the beginning of a stop string.
pub(super) struct StopStream<'a> {
    stop: &'a [String],
    held: String,
}

impl<'a> StopStream<'a> {
    /// With these strings, of which empty ones do not count.
    pub(super) fn new(stop: &'a [String]) -> StopStream<'a> {
        StopStream { stop, held: String::new() }
    }

    /// Takes some text; returns what certainly comes before any stop string, and whether one has come.
    pub(super) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let stops = || self.stop.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let is_beginning = |at: &usize| stops().any(|stop| stop.starts_with(&self.held[*at..]));
        let places = self.held.char_indices().map(|(at, _)| at);
        let certain = places.into_iter().find(is_beginning).unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is still held back, once no more will come.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::StopStream;

    fn streamed(text: &str, stop: &[&str], piece: usize) -> (String, bool) {
        let stop: Vec<String> = stop.iter().map(|s| (*s).to_string()).collect();
        let mut stream = StopStream::new(&stop);
        let characters: Vec<char> = text.chars().collect();
        let mut out = String::new();
        for chunk in characters.chunks(piece) {
            let (text, is_stopped) = stream.push(&chunk.iter().collect::<String>());
            out.push_str(&text);
            if is_stopped {
                return (out, true);
            }
        }
        out.push_str(&stream.finish());
        (out, false)
    }

    #[test]
    fn text_ends_before_the_first_stop_string_however_it_is_cut() {
        let cases: [(&str, &[&str], &str, bool); 6] = [
            ("one two three", &["two"], "one ", true),
            ("ababac", &["abac"], "ab", true),
            ("aé€€z", &["€z", "q"], "aé€", true),
            ("nothing here", &["herein", ""], "nothing here", false),
            ("stop", &["stop"], "", true),
            ("a b c", &["c", "b"], "a ", true),
        ];
        for (text, stop, wanted, is_stopped) in cases {
            for piece in 1..=text.chars().count() {
                // Of two strings the first that comes counts, which long pieces and short ones see alike.
                assert_eq!(
                    streamed(text, stop, piece),
                    (wanted.to_string(), is_stopped),
                    "{text} by {piece}"
                );
            }
        }
    }
}
