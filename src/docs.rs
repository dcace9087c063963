//! The guide, the recipes and the reference of the command: the pages that the front page links to.
//!
//! They are the files of `src/docs` in the repository, where they can be read as well.

// A page ends with definitions of its links for a forge: relative paths. Here those of links.md and pictures.md come
// first, and the first definition of a name is the one that counts.
macro_rules! pages {
    ($($name:ident)*) => { $(
        #[doc = include_str!("docs/links.md")]
        #[doc = include_str!("docs/pictures.md")]
        #[doc = include_str!(concat!("docs/", stringify!($name), ".md"))]
        pub mod $name {}
    )* };
}

pages! { recipes guide cookbook command profiles errors tolerances security costs fleet bench }
