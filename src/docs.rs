//! The guide, the recipes, the cookbook and the reference of the command.
//!
//! These pages are the files of `src/docs` in the repository, where a forge shows them too.

// A page ends with definitions of its links: relative paths, which a forge follows. rustdoc cannot, so it reads links.md
// and pictures.md before the page; of two definitions of one name, the first counts.
macro_rules! pages {
    ($($name:ident)*) => { $(
        #[doc = include_str!("docs/links.md")]
        #[doc = include_str!("docs/pictures.md")]
        #[doc = include_str!(concat!("docs/", stringify!($name), ".md"))]
        pub mod $name {}
    )* };
}

pages! { recipes federation guide sharing cookbook command profiles errors tolerances security costs boards fleet bench }
