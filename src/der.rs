//! Reads DER elements (ITU-T X.690) of certificates and keys.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const SEQUENCE: u8 = 0x30;

/// A DER element: tag, length, content.
pub(crate) struct Element<'c> {
    pub(crate) tag: u8,
    pub(crate) content: &'c [u8],
    #[cfg(feature = "tls")]
    pub(crate) whole: &'c [u8],
    /// The bytes after the element.
    pub(crate) rest: &'c [u8],
}

impl<'c> Element<'c> {
    pub(crate) fn read(der: &'c [u8]) -> Option<Self> {
        let (tag, after) = der.split_first()?;
        let (first, mut after) = after.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            // No certificate or key has a length of more than three bytes.
            let digits = after.get(..length - 0x80).filter(|digits| (1..=3).contains(&digits.len()))?;
            after = &after[digits.len()..];
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        }
        let (content, rest) = after.split_at_checked(length)?;
        Some(Self {
            tag: *tag,
            content,
            #[cfg(feature = "tls")]
            whole: &der[..der.len() - rest.len()],
            rest,
        })
    }

    pub(crate) fn content(&self, tag: u8) -> Option<&'c [u8]> {
        (self.tag == tag).then_some(self.content)
    }

    pub(crate) fn next(&self) -> Option<Self> {
        Self::read(self.rest)
    }
}
