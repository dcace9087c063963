mod server;
fn main() {
    let s = server::Server::start();
    println!(
        "{} {} {} {}",
        s.plain,
        s.tls,
        server::late(s.plain, std::time::Duration::from_millis(50)),
        server::late(s.tls, std::time::Duration::from_millis(50))
    );
    std::thread::park();
}
