claude_cage {
    networkMode = "allowlist",
    allow = {
        domains = { "github.com:443", "*.a.example", { "jira.corp.example:443", private = true } },
        ips = { "1.2.3.4:80,443" },
        networks = { "10.0.0.0/24:8000-8100" },
    },
    user = "5001",
    proxy = { user = "5002", audit = true, dns = { servers = { "9.9.9.9" } }, limits = { idle_s = 5 } },
}
