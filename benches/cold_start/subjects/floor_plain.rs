//! The least that a fetch over http costs: `floor-plain URL SECRET_FILE`.

mod floor;

fn main() {
    let (authority, path, secret) = floor::arguments();
    let stream = std::net::TcpStream::connect(authority.as_str()).expect("a server");
    floor::fetch(stream, &authority, &path, &secret);
}
