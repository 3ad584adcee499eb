//! Elements of XML documents.
//!
//! It refuses to rewrite what stays: elements are cut out of the text as spans.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Cut, CutError};

/// Cuts out every element of these local names, at any depth, with all that it holds.
pub(super) fn cut(text: &[u8], elements: &[String]) -> Result<Cut, CutError> {
    let document = std::str::from_utf8(text).map_err(|e| CutError::format("UTF-8 XML", e))?;
    let mut reader = Reader::from_str(document);
    let mut spans = Vec::new();
    // How deep we are, and where the outermost element that goes began.
    let (mut depth, mut open) = (0_u64, None);
    loop {
        let from = reader.buffer_position();
        let event = reader.read_event().map_err(|e| CutError::format("XML", e))?;
        let to = reader.buffer_position();
        let named = |name: &str| elements.iter().any(|element| element == name);
        match event {
            Event::Start(tag) => {
                if open.is_none() && named(tag.local_name().into_inner()) {
                    open = Some((from, depth));
                }
                depth += 1;
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                if let Some((start, _)) = open.filter(|&(_, level)| level == depth) {
                    spans.push((start, to));
                    open = None;
                }
            }
            Event::Empty(tag) if open.is_none() && named(tag.local_name().into_inner()) => {
                spans.push((from, to));
            }
            Event::Eof => break,
            Event::Empty(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
    if depth > 0 {
        return Err(CutError::format("XML", "an element is not closed"));
    }
    Ok(without(text, &spans))
}

fn without(text: &[u8], spans: &[(u64, u64)]) -> Cut {
    let mut cut = Cut { rest: Vec::with_capacity(text.len()), matches: 0 };
    let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
    let mut kept = 0;
    for &(from, to) in spans {
        cut.rest.extend(text.get(kept..at(from)).unwrap_or_default());
        kept = at(to);
        cut.matches += 1;
    }
    cut.rest.extend(text.get(kept..).unwrap_or_default());
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_passwords_and_keeps_sites() {
        let text = b"<?xml version=\"1.0\"?>\n<S><Server><Host>h</Host><Pass encoding=\"base64\">eA==</Pass>\
            <User>u</User><Pass/></Server><!-- <Pass> --></S>\n";
        let cut = cut(text, &["Pass".into()]).unwrap();
        assert_eq!(cut.matches, 2);
        assert_eq!(
            cut.rest,
            b"<?xml version=\"1.0\"?>\n<S><Server><Host>h</Host><User>u</User></Server><!-- <Pass> --></S>\n"
        );
    }

    #[test]
    fn counts_a_nested_element_of_the_same_name_once() {
        let cut = cut(b"<a><p><p>x</p></p><q/></a>", &["p".into()]).unwrap();
        assert_eq!((cut.matches, cut.rest.as_slice()), (1, b"<a><q/></a>".as_slice()));
    }

    #[test]
    fn refuses_a_document_that_ends_in_the_middle() {
        assert!(cut(b"<a><Pass>x", &["Pass".into()]).is_err());
    }
}
