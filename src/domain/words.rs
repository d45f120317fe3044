//! Enumerations whose values users write as words: each value with its word, and what is said of another word.

/// Characters of a wrong word that an error repeats.
pub(crate) const REPEATED: usize = 100;

/// An enumeration of words, in the order of `ALL`, and the error of a word that is none of them.
macro_rules! words {
    (
        $(#[$about:meta])*
        $name:ident, $unknown:ident: $message:literal;
        $($(#[$of:meta])* $value:ident = $word:literal,)+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $value,)+
        }

        /// A word that is none of these.
        #[derive(Debug, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $unknown(String);

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$value),+];

            /// As users write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $unknown;

            fn from_str(word: &str) -> Result<Self, $unknown> {
                let unknown = || $unknown(word.chars().take($crate::words::REPEATED).collect());
                Self::ALL.into_iter().find(|value| value.name() == word).ok_or_else(unknown)
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// Of fruit.
        Fruit, UnknownFruit: "\"{0}\" is no fruit";
        /// Red.
        Apple = "apple",
        /// Yellow.
        Pear = "pear",
    }

    #[test]
    fn each_value_is_read_by_its_word_and_by_no_other() {
        for fruit in Fruit::ALL {
            assert_eq!(fruit.name().parse(), Ok(fruit));
        }
        for word in ["", "Apple", "pear ", "apples"] {
            let error = word.parse::<Fruit>().unwrap_err();
            assert_eq!(error.to_string(), format!("\"{word}\" is no fruit"));
        }
    }

    #[test]
    fn an_error_repeats_as_much_of_a_word() {
        let error = "ä".repeat(REPEATED + 1).parse::<Fruit>().unwrap_err();
        assert_eq!(error, UnknownFruit("ä".repeat(REPEATED)));
    }
}
