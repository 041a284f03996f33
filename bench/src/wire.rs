//! HTTP/1.1 as a client over one kept-alive connection (RFC 9112), written by hand so that the generator costs less
//! than the server it measures.
//!
//! Understands Content-Length and chunked bodies (§6, §7.1) and skips interim answers. Leaves out: pipelining, TLS,
//! trailers' contents, compression.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer greater than this is an error, so that a server gone wrong can't fill the memory.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// One kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    unchunked: Vec<u8>,
    closing: bool,
}

/// An answer, borrowed from its connection until the next request.
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    head: &'a str,
    /// The body, without chunk framing.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// An answer from its parts: the lines of the head after the status line, and the body.
    #[cfg(test)]
    pub fn of(status: u16, head: &'a str, body: &'a [u8]) -> Self {
        Self { status, head, body }
    }

    /// The values of all fields of this name, in their order.
    pub fn headers(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        fields(self.head).filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What an error message shows of the answer: the status, where it leads, and the body's beginning.
    pub fn summary(&self) -> String {
        let text: String = String::from_utf8_lossy(self.body).chars().take(240).collect();
        let target = self.headers("location").next().map(|to| format!(", location {to}")).unwrap_or_default();
        format!("status {}{target}, body {:?}", self.status, text)
    }
}

impl Connection {
    /// Connects, with small packets sent at once.
    ///
    /// # Errors
    /// What connecting reports.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024), unchunked: Vec::new(), closing: false })
    }

    /// Whether the server has announced that it closes this connection.
    pub fn closing(&self) -> bool {
        self.closing
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// Errors of the socket, an answer that is not HTTP/1.1, an early end, or bytes after the answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut start = 0;
        let head = loop {
            let unread = self.buffer.get(start..).unwrap_or_default();
            match parse_head(unread)? {
                // An interim answer (RFC 9110 §15.2) precedes the final one and has no body.
                Some(head) if head.status < 200 => start += head.length,
                Some(head) => break head,
                None => {
                    if self.fill().await? == 0 {
                        return Err(broken("the server closed the connection before its answer"));
                    }
                }
            }
        };
        let body_start = start + head.length;
        let end = match head.framing {
            Framing::Length(length) => {
                let end = body_start + length;
                while self.buffer.len() < end {
                    if self.fill().await? == 0 {
                        return Err(broken("the server closed the connection inside a body"));
                    }
                }
                end
            }
            Framing::Chunked => loop {
                self.unchunked.clear();
                let framed = self.buffer.get(body_start..).unwrap_or_default();
                if let Some(length) = decode_chunks(framed, &mut self.unchunked)? {
                    break body_start + length;
                }
                if self.fill().await? == 0 {
                    return Err(broken("the server closed the connection inside a chunked body"));
                }
            },
            Framing::UntilClose => {
                while self.fill().await? > 0 {}
                self.buffer.len()
            }
        };
        if self.buffer.len() > end {
            return Err(broken("the server sent more than the answer"));
        }
        self.closing = head.close;
        let body = match head.framing {
            Framing::Chunked => &self.unchunked,
            Framing::Length(_) | Framing::UntilClose => self.buffer.get(body_start..end).unwrap_or_default(),
        };
        let lines = self.buffer.get(start + head.status_line..body_start).unwrap_or_default();
        let head_text = std::str::from_utf8(lines).map_err(|_| broken("a header field is not UTF-8"))?;
        Ok(Response { status: head.status, head: head_text, body })
    }

    /// Reads what has arrived; 0 is the end of the stream.
    async fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.len() > ANSWER_LIMIT {
            return Err(broken("the answer is greater than 8 MiB"));
        }
        self.buffer.reserve(4 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// What the head of an answer says.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Bytes of the status line with its line end.
    status_line: usize,
    /// Bytes of the head with the empty line.
    length: usize,
    framing: Framing,
    close: bool,
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Name and value of each field line (RFC 9112 §5).
fn fields(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.split("\r\n").filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
}

/// The head at the beginning of `bytes`, or nothing while it is incomplete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..end + 2).unwrap_or_default())
        .map_err(|_| broken("the head of the answer is not UTF-8"))?;
    let (status_line, lines) = text.split_once("\r\n").ok_or_else(|| broken("the answer has no status line"))?;
    // RFC 9112 §4: HTTP-version SP status-code SP.
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| broken("the answer does not begin with an HTTP/1.x status line"))?;
    let mut framing = None;
    let mut close = false;
    for (name, value) in fields(lines) {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| broken("Content-Length is not a number"))?;
            framing = framing.or(Some(Framing::Length(length)));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // RFC 9112 §6.3: Transfer-Encoding overrides Content-Length.
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(broken("a transfer coding other than chunked"));
            }
            framing = Some(Framing::Chunked);
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        }
    }
    // RFC 9112 §6.3: 1xx, 204 and 304 have no body.
    let bodiless = status < 200 || status == 204 || status == 304;
    let framing = if bodiless { Framing::Length(0) } else { framing.unwrap_or(Framing::UntilClose) };
    let close = close || framing == Framing::UntilClose;
    Ok(Some(Head { status, status_line: status_line.len() + 2, length: end + 4, framing, close }))
}

/// Appends the contents of a chunked body to `out` and gives the framed length, or nothing while it is incomplete.
fn decode_chunks(framed: &[u8], out: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut at = 0;
    loop {
        let rest = framed.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        // RFC 9112 §7.1: chunk-size [ chunk-ext ] CRLF.
        let size = std::str::from_utf8(rest.get(..line).unwrap_or_default())
            .ok()
            .and_then(|text| usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16).ok())
            .filter(|size| *size <= ANSWER_LIMIT)
            .ok_or_else(|| broken("a chunk's size is not a usable hexadecimal number"))?;
        at += line + 2;
        if size == 0 {
            // RFC 9112 §7.1.2: trailer fields, then an empty line.
            loop {
                let trailer = framed.get(at..).unwrap_or_default();
                let Some(line) = trailer.windows(2).position(|pair| pair == b"\r\n") else {
                    return Ok(None);
                };
                at += line + 2;
                if line == 0 {
                    return Ok(Some(at));
                }
            }
        }
        let Some(chunk) = framed.get(at..at + size) else {
            return Ok(None);
        };
        match framed.get(at + size..at + size + 2) {
            Some(b"\r\n") => out.extend_from_slice(chunk),
            Some(_) => return Err(broken("a chunk does not end with a line end")),
            None => return Ok(None),
        }
        at += size + 2;
    }
}

/// Appends a GET request; `fields` are whole lines with their line ends.
pub fn write_get(out: &mut Vec<u8>, host: &str, target: &str, fields: &str) {
    for part in ["GET ", target, " HTTP/1.1\r\nhost: ", host, "\r\n", fields, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a POST request with a form body; `fields` are whole lines with their line ends.
pub fn write_form(out: &mut Vec<u8>, host: &str, target: &str, fields: &str, body: &str) {
    let length = body.len().to_string();
    for part in [
        "POST ",
        target,
        " HTTP/1.1\r\nhost: ",
        host,
        "\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        fields,
        "content-length: ",
        &length,
        "\r\n\r\n",
        body,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_head_is_parsed_only_when_complete() {
        let text = b"HTTP/1.1 303 See Other\r\nContent-Length: 12\r\nSet-Cookie: a=1\r\nConnection: Close\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(parse_head(&text[..cut]).unwrap(), None);
        }
        let head = parse_head(text).unwrap().unwrap();
        assert_eq!(head.status, 303);
        assert_eq!(head.length, text.len());
        assert_eq!(head.framing, Framing::Length(12));
        assert!(head.close);
    }

    #[test]
    fn odd_heads_are_refused() {
        for text in [
            "HTTP/2 200\r\n\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        ] {
            assert!(parse_head(text.as_bytes()).is_err(), "{text:?} was accepted");
        }
        let bodiless = parse_head(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n").unwrap().unwrap();
        assert_eq!(bodiless.framing, Framing::Length(0));
    }

    #[test]
    fn chunks_are_joined_and_incomplete_ones_awaited() {
        let framed = b"4\r\nWiki\r\n6;name=value\r\npedia \r\nA\r\n0123456789\r\n0\r\nx-trailer: y\r\n\r\n";
        for cut in 0..framed.len() {
            assert_eq!(decode_chunks(&framed[..cut], &mut Vec::new()).unwrap(), None, "cut at {cut}");
        }
        let mut body = Vec::new();
        assert_eq!(decode_chunks(framed, &mut body).unwrap(), Some(framed.len()));
        assert_eq!(body, b"Wikipedia 0123456789");
        assert!(decode_chunks(b"zz\r\n", &mut Vec::new()).is_err());
        assert!(decode_chunks(b"1\r\nabc", &mut Vec::new()).is_err());
    }

    #[tokio::test]
    async fn a_connection_is_kept_through_answers_of_every_framing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers: [&[&str]; 3] = [
                &["HTTP/1.1 200 OK\r\ncontent-le", "ngth: 5\r\nx-a: 1\r\nX-A: 2\r\n\r\nhe", "llo"],
                &[
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc",
                    "\r\n0\r\n\r\n",
                ],
                &["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end"],
            ];
            for parts in answers {
                let mut request = vec![0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"POST /token HTTP/1.1\r\nhost: localhost:1\r\n"));
                assert!(request[..read].ends_with(b"content-length: 3\r\n\r\na=b"));
                for part in parts {
                    stream.write_all(part.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut connection = Connection::open(address).await.unwrap();
        let mut request = Vec::new();
        write_form(&mut request, "localhost:1", "/token", "", "a=b");
        let first = connection.exchange(&request).await.unwrap();
        assert_eq!((first.status, first.body), (200, &b"hello"[..]));
        assert_eq!(first.headers("x-a").collect::<Vec<_>>(), ["1", "2"]);
        let second = connection.exchange(&request).await.unwrap();
        assert_eq!((second.status, second.body), (200, &b"abc"[..]));
        assert!(!connection.closing());
        let third = connection.exchange(&request).await.unwrap();
        assert_eq!(third.body, b"to the end");
        assert!(connection.closing());
        server.await.unwrap();
    }
}
