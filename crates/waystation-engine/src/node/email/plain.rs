//! HTML as plain text, for readers that show no HTML: words, lines, and where links lead.

/// Elements whose content nobody reads.
const UNSEEN: [&str; 4] = ["script", "style", "head", "title"];
/// Elements that stand in lines of their own.
const BLOCKS: [&str; 16] = [
    "address",
    "article",
    "blockquote",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "header",
    "hr",
    "li",
    "ol",
    "section",
    "table",
    "tr",
    "ul",
];
/// Bytes within which a character reference ends.
const REFERENCE_BYTES: usize = 12;
/// The text of a page. Each part of it is looked at once.
pub(super) fn plain(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        page.text(&rest[..start]);
        rest = page.markup(&rest[start..]);
    }
    page.text(rest);
    page.words.trim().to_owned()
}

#[derive(Default)]
struct Page {
    words: String,
    /// A gap that has to be there before the next word.
    gap: bool,
    /// Where the links lead that are open, innermost last.
    links: Vec<Option<String>>,
}

impl Page {
    /// Takes a tag or a comment from the front of the text; what is neither is text.
    fn markup<'h>(&mut self, html: &'h str) -> &'h str {
        if let Some(comment) = html.strip_prefix("<!--") {
            return comment.split_once("-->").map_or("", |(_, rest)| rest);
        }
        let is_tag = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'!' | b'?');
        if !html.as_bytes().get(1).is_some_and(is_tag) {
            self.text("<");
            return &html[1..];
        }
        let Some(end) = tag_end(html) else {
            // No other tag ends either.
            self.text(html);
            return "";
        };
        let (tag, rest) = (&html[1..end], &html[end + 1..]);
        let is_end = tag.starts_with('/');
        let name = tag.trim_start_matches('/');
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        if !is_end && UNSEEN.contains(&name.as_str()) {
            return after(rest, &name);
        }
        self.element(&name, is_end, tag);
        rest
    }

    fn element(&mut self, name: &str, is_end: bool, tag: &str) {
        match name {
            "a" if is_end => self.close_link(),
            "a" => self.links.push(attribute(tag, "href")),
            "li" if !is_end => {
                self.line_breaks(1);
                self.text("- ");
            }
            "td" | "th" => self.gap = true,
            "br" => self.line_breaks(self.breaks() + 1),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.line_breaks(2),
            name if BLOCKS.contains(&name) => self.line_breaks(1),
            _ => {}
        }
    }

    fn close_link(&mut self) {
        let Some(Some(target)) = self.links.pop() else { return };
        let leads =
            ["http://", "https://", "mailto:"].iter().any(|start| target.starts_with(start));
        let is_said = self.words.ends_with(target.trim_start_matches("mailto:"));
        if leads && !is_said {
            self.gap = false;
            self.words.push_str(&format!(" ({target})"));
        }
    }

    fn text(&mut self, html: &str) {
        for (index, word) in html.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            self.gap |= index > 0;
            if word.is_empty() {
                continue;
            }
            if self.gap && !self.words.is_empty() && !self.words.ends_with('\n') {
                self.words.push(' ');
            }
            self.gap = false;
            unescape(word, &mut self.words);
        }
    }

    /// Sees to it that the text ends with so many line breaks, two at most.
    fn line_breaks(&mut self, wanted: usize) {
        self.gap = false;
        if !self.words.is_empty() {
            let missing = wanted.min(2).saturating_sub(self.breaks());
            self.words.extend(std::iter::repeat_n('\n', missing));
        }
    }

    fn breaks(&self) -> usize {
        self.words.bytes().rev().take(2).take_while(|byte| *byte == b'\n').count()
    }
}

/// Where a tag ends: at the first bracket outside of quotes, or at the first one where a quote does not
/// end, of which there are two at most in a page.
fn tag_end(html: &str) -> Option<usize> {
    let mut quote = None;
    let end = html.bytes().position(|byte| {
        match (quote, byte) {
            (None, b'>') => return true,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        false
    });
    end.or_else(|| html.find('>'))
}

/// What follows the end of an element; nothing where it does not end.
fn after<'h>(html: &'h str, name: &str) -> &'h str {
    let mut rest = html;
    while let Some(start) = rest.find("</") {
        rest = &rest[start + 2..];
        let begins = rest.as_bytes().get(..name.len());
        if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(name.as_bytes())) {
            return rest.split_once('>').map_or("", |(_, rest)| rest);
        }
    }
    ""
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.to_ascii_lowercase().find(&format!(" {name}="))? + name.len() + 2;
    let value = &tag[start..];
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split(|c: char| c.is_ascii_whitespace()).next()?,
    };
    let mut text = String::new();
    unescape(value.trim(), &mut text);
    Some(text)
}

/// Adds text with its character references resolved; unknown ones stay as they are.
fn unescape(text: &str, onto: &mut String) {
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        onto.push_str(&rest[..start]);
        rest = &rest[start..];
        let near = &rest.as_bytes()[..rest.len().min(REFERENCE_BYTES)];
        let end = near.iter().position(|byte| *byte == b';');
        match end.and_then(|end| Some((character(&rest[1..end])?, end))) {
            Some((letter, end)) => {
                onto.push(letter);
                rest = &rest[end + 1..];
            }
            None => {
                onto.push('&');
                rest = &rest[1..];
            }
        }
    }
    onto.push_str(rest);
}

fn character(name: &str) -> Option<char> {
    let code = match name.strip_prefix('#') {
        Some(digits) => match digits.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => digits.parse().ok()?,
        },
        None => {
            return Some(match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => '\u{a0}',
                "copy" => '©',
                "euro" => '€',
                "ndash" => '–',
                "mdash" => '—',
                "hellip" => '…',
                _ => return None,
            });
        }
    };
    char::from_u32(code).filter(|letter| !letter.is_control())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_lines_and_links_stay() {
        for (html, expected) in [
            ("plain", "plain"),
            ("<p>Hello  <b>Ada</b>,</p>\n<p>bye.</p>", "Hello Ada,\n\nbye."),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
            ("<tr><td>a</td><td>b</td></tr>", "a b"),
            (
                "See <a href='https://x.org/?a=1&amp;b=2'>here</a>.",
                "See here (https://x.org/?a=1&b=2).",
            ),
            ("<a href=\"https://x.org\">https://x.org</a>", "https://x.org"),
            ("<a class=c href=mailto:a@x.org>a@x.org</a>", "a@x.org"),
            ("<a href='#top'>up</a>", "up"),
            ("<style>p > b {}</style><script>'</p>'</script>ok", "ok"),
            ("<head><title>t</title></head><body>b</body>", "b"),
            ("a<!-- <b> -->b<!-- open", "ab"),
            ("1 < 2 &amp; 3 &gt; 2 &#233; &#x20ac; &nope; &", "1 < 2 & 3 > 2 é € &nope; &"),
            ("<img alt=\"a > b\">x", "x"),
            ("<div><div><div>deep</div></div></div>", "deep"),
            ("never <closed", "never <closed"),
            ("", ""),
        ] {
            assert_eq!(plain(html), expected, "{html}");
        }
    }

    #[test]
    fn hostile_pages_take_no_longer_than_their_length() {
        for piece in
            ["<a href=x>", "<", "&", "<p>", "<!--", "</", "<a ", "<script>", "<\"", "&#1", "\n"]
        {
            let html = piece.repeat((1 << 20) / piece.len());
            let began = Instant::now();
            let _ = plain(&html);
            // Milliseconds; work that grew with the square would take minutes.
            assert!(began.elapsed().as_secs() < 10, "{piece:?}: {:?}", began.elapsed());
        }
    }

    proptest! {
        #[test]
        fn no_page_is_too_odd(html in "([<>/&;#'\"a-c =-]|<a href=|é|<p>|</a>|&amp;){0,60}") {
            plain(&html);
        }
    }
}
