//! The ways to write an address in a URL, and what becomes of each.

use super::super::Reach;
use super::super::testing::{client, open_client};
use super::absolute_url;
use Verdict::{Local, Never, Open, Unparsed};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// Refused by every policy.
    Never,
    /// Refused by public-only.
    Local,
    /// Allowed, or a name for the resolver to check.
    Open,
    /// No URL.
    Unparsed,
}

const CASES: &[(&str, Verdict)] = &[
    // Metadata and link-local.
    ("http://169.254.169.254/latest", Never),
    ("HTTP://169.254.169.254./", Never),
    ("http://2852039166/", Never),
    ("http://0xA9FEA9FE/", Never),
    ("http://0xa9.0xfe.0xa9.0xfe/", Never),
    ("http://0251.0376.0251.0376/", Never),
    ("http://025177524776/", Never),
    ("http://169.254.43518/", Never),
    ("http://169.16689662/", Never),
    ("http://0xa9.254.0251.254:80/", Never),
    ("http://%31%36%39.254.169.254/", Never),
    ("http://a@169.254.169.254/", Never),
    ("http://example.com:80@169.254.169.254/", Never),
    ("http://169.254.169.254\\@example.com/", Never),
    ("http:169.254.169.254", Never),
    ("http:\\\\169.254.169.254", Never),
    ("http:////169.254.169.254", Never),
    ("http://169.254.169.254#@example.com", Never),
    ("http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/", Never),
    ("http://169。254。169。254/", Never),
    ("http://169.254\t.169.254/", Never),
    ("http://[::ffff:169.254.169.254]/", Never),
    ("http://[::FFFF:A9FE:A9FE]/", Never),
    ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", Never),
    ("http://[::ffff:0:169.254.169.254]/", Never),
    ("http://[::169.254.169.254]/", Never),
    ("http://[64:ff9b::169.254.169.254]/", Never),
    ("http://[64:ff9b:1::a9fe:a9fe]/", Never),
    ("http://[2002:a9fe:a9fe::]/", Never),
    ("http://[2001:0:a9fe:a9fe::]/", Never),
    ("http://[2001::5601:5601]/", Never),
    ("http://[2606:4700::5efe:a9fe:a9fe]/", Never),
    ("http://[fd00:ec2::254]/", Never),
    ("http://[fd20:ce::254]/", Never),
    ("http://[fe80::1]/", Never),
    ("http://[febf::1]/", Never),
    ("http://100.100.100.200/", Never),
    ("http://192.0.0.192/", Never),
    ("http://168.63.129.16/", Never),
    // This machine and its networks.
    ("http://127.0.0.1/", Local),
    ("http://127.1/", Local),
    ("http://0x7f.1/", Local),
    ("http://0177.0.0.01/", Local),
    ("http://2130706433/", Local),
    ("http://0/", Local),
    ("http://0.0.0.0/", Local),
    ("http://0.1.2.3/", Local),
    ("http://[::1]/", Local),
    ("http://[::]/", Local),
    ("http://[::ffff:127.0.0.1]/", Local),
    ("http://[2002:7f00:1::]/", Local),
    ("http://10.1/", Local),
    ("http://172.31.255.255/", Local),
    ("http://192.168.65535/", Local),
    ("http://100.64.0.1/", Local),
    ("http://198.19.0.1/", Local),
    ("http://203.0.113.7/", Local),
    ("http://224.0.0.1/", Local),
    ("http://255.255.255.255/", Local),
    ("http://[fc00::1]/", Local),
    ("http://[fdff::1]/", Local),
    ("http://[fec0::1]/", Local),
    ("http://[ff02::1]/", Local),
    ("http://[2001:db8::1]/", Local),
    ("http://[64:ff9b::10.0.0.1]/", Local),
    ("http://[64:ff9b:1::808:808]/", Local),
    ("http://[4000::1]/", Local),
    // The internet.
    ("http://93.184.216.34/", Open),
    ("http://172.32.0.1/", Open),
    ("http://100.128.0.1/", Open),
    ("http://[2606:4700::1111]/", Open),
    ("http://[64:ff9b::93.184.216.34]/", Open),
    ("http://[::ffff:93.184.216.34]/", Open),
    ("http://169.254.169.254.example.com/", Open),
    ("http://169.254.169.254@93.184.216.34/", Open),
    ("http://example.com/@169.254.169.254", Open),
    // No URL of ours.
    ("http://169.254.169.256/", Unparsed),
    ("http://1.2.3.4.5/", Unparsed),
    ("http://[fe80::1%25eth0]/", Unparsed),
    ("http://", Unparsed),
    ("file:///etc/passwd", Unparsed),
    ("ftp://10.0.0.1/", Unparsed),
    ("gopher://127.0.0.1:70/", Unparsed),
    ("unix:/run/docker.sock", Unparsed),
    ("data:text/plain,x", Unparsed),
    ("example.com/path", Unparsed),
    ("//169.254.169.254/", Unparsed),
    ("", Unparsed),
];

#[test]
fn no_spelling_hides_an_address() {
    let (any, public) = (open_client(), client(Reach::PublicOnly, ""));
    for &(text, expected) in CASES {
        let found = match absolute_url(text) {
            Err(_) => Unparsed,
            Ok(url) if any.check(&url).is_err() && public.check(&url).is_err() => Never,
            Ok(url) if public.check(&url).is_err() => Local,
            Ok(_) => Open,
        };
        assert_eq!(found, expected, "{text}");
    }
}
