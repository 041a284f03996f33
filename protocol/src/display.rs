//! The `display` parameter (OpenID Connect Core §3.1.2.1): in what kind of window the pages are shown.

/// How pages are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Display {
    /// A full page.
    #[default]
    Page,
    /// A small window of its own.
    Popup,
    /// A device that is touched.
    Touch,
}

impl Display {
    /// Every way that is offered, as discovery lists them. `wap` is for telephones of another age and isn't.
    pub const ALL: [Self; 3] = [Self::Page, Self::Popup, Self::Touch];

    /// The value of the parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Popup => "popup",
            Self::Touch => "touch",
        }
    }

    /// Reads the parameter. It is a wish about looks, for which Core names no error: a value that isn't offered is a page.
    pub fn parse(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|display| Some(display.as_str()) == text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_a_page() {
        assert_eq!(Display::parse(Some("popup")), Display::Popup);
        assert_eq!(Display::parse(Some("touch")), Display::Touch);
        for other in [None, Some("page"), Some("wap"), Some("Popup"), Some("")] {
            assert_eq!(Display::parse(other), Display::Page, "{other:?}");
        }
    }
}
