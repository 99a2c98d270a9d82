use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// The longest kind or queue name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The longest assignee, in bytes.
const ASSIGNEE_BYTES_MAX: usize = 128;
/// The longest unique key, in bytes.
const UNIQUE_KEY_BYTES_MAX: usize = 256;

macro_rules! name_type {
    ($(#[$meta:meta])* $name:ident, $argument:literal, $check:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// [`Invalid`] naming what is wrong with it.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Invalid> {
                let text = text.as_ref();
                let check: fn(&str) -> Result<(), String> = $check;
                check(text).map_err(|reason| Invalid::new($argument, reason))?;
                Ok($name(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name_type! {
    /// A queue's name: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`.
    QueueName, "queue", |text| plain_name(text, "._-")
}

name_type! {
    /// What sort of work a job is: 1 to 64 of the characters `A-Z a-z 0-9 . _ - : /`.
    Kind, "kind", |text| plain_name(text, "._-:/")
}

name_type! {
    /// Who works on a job: 1 to 128 bytes, no control characters.
    AssigneeId, "assignee", |text| free_text(text, ASSIGNEE_BYTES_MAX)
}

name_type! {
    /// A label of a job. Not empty, no control characters; its length is limited by
    /// [`Limits::tag_bytes`](crate::Limits::tag_bytes).
    Tag, "tag", |text| free_text(text, usize::MAX)
}

name_type! {
    /// A key that at most one unfinished job of a queue holds: 1 to 256 bytes, no control characters.
    UniqueKey, "unique", |text| free_text(text, UNIQUE_KEY_BYTES_MAX)
}

impl Default for QueueName {
    /// The queue named `default`.
    fn default() -> Self {
        QueueName("default".into())
    }
}

fn plain_name(text: &str, also: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("is {} bytes long, at most {NAME_BYTES_MAX} are allowed", text.len()));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !also.contains(*c)) {
        Some(c) => Err(format!("{text:?} holds {c:?}; letters, digits and {also:?} are allowed")),
        None => Ok(()),
    }
}

fn free_text(text: &str, bytes_max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > bytes_max {
        return Err(format!("is {} bytes long, at most {bytes_max} are allowed", text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{text:?} holds the control character {c:?}")),
        None => Ok(()),
    }
}

/// Tags without duplicates, in ascending order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TagSet(Option<Arc<[Tag]>>);

impl TagSet {
    /// Whether the set holds `tag`.
    pub fn contains(&self, tag: &str) -> bool {
        self.binary_search_by(|own| own.as_str().cmp(tag)).is_ok()
    }
}

impl FromIterator<Tag> for TagSet {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        if tags.is_empty() {
            return TagSet(None);
        }
        tags.sort_unstable();
        tags.dedup();
        TagSet(Some(tags.into()))
    }
}

impl Deref for TagSet {
    type Target = [Tag];

    fn deref(&self) -> &[Tag] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl fmt::Debug for TagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Which of the due jobs of a queue goes first: lower runs first, like `nice`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub i16);

impl Priority {
    /// Before everything that did not ask for more: -100.
    pub const HIGH: Priority = Priority(-100);
    /// What a job has unless it says otherwise: 0.
    pub const NORMAL: Priority = Priority(0);
    /// After everything else: 100.
    pub const LOW: Priority = Priority(100);
}

impl From<i16> for Priority {
    fn from(level: i16) -> Self {
        Priority(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_rules_are_refused_with_a_reason() {
        for bad in ["", "a b", "a\0", "ü", "a/b", &"x".repeat(65)] {
            assert!(QueueName::new(bad).is_err(), "{bad:?}");
        }
        assert!(Kind::new("mail/send:v2").is_ok());
        assert!(Kind::new("mail send").unwrap_err().to_string().starts_with("kind: "));
        assert!(AssigneeId::new("").is_err());
        assert!(AssigneeId::new("worker\n1").is_err());
        assert!(AssigneeId::new("Ärger 1").is_ok());
        assert!(AssigneeId::new("x".repeat(129)).is_err());
    }

    #[test]
    fn tags_come_back_sorted_and_without_duplicates() {
        let tags: TagSet = ["b", "a", "b"].iter().filter_map(|t| Tag::new(t).ok()).collect();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(tags.contains("a") && !tags.contains("c"));
        assert!(TagSet::default().is_empty());
    }
}
