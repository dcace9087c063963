//! What a misspelt word was meant to be.

/// Returns the name that is at most two letters away from the word, and fewer than half of its letters. A word that is
/// near to a name is a mistake and no secret, so it can be shown.
pub(crate) fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    // Two rows of the table, whatever the word is: a long one is no name.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let near = names.iter().map(|name| (distance(&word, name), *name)).min()?;
    (near.0 <= 2 && 2 * near.0 < near.1.len()).then_some(near.1)
}

/// How many letters are to be inserted, removed or replaced, or neighbours exchanged.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelt_word_has_a_nearest_name() {
        let names = ["token", "revoke", "keep", "bench", "parse", "demo", "help"];
        for (word, name) in [
            ("tokn", Some("token")),
            ("Token", Some("token")),
            ("tokens", Some("token")),
            ("toekn", Some("token")),
            ("revok", Some("revoke")),
            ("kep", Some("keep")),
            ("halp", Some("help")),
            ("", None),
            ("hunter2", None),
            ("xxep", None),
            ("tök", None),
            ("\u{202E}", None),
        ] {
            assert_eq!(nearest(word, &names), name, "{word}");
        }
        assert_eq!(nearest(&"token".repeat(1000), &names), None);
    }
}
