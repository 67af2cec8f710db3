#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "proxy/cli/cage_parts.h"

/* Exact names; those of the account are set anew below, PWD by whoever needs it. */
static const char *const dropped_names[] = {
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RESOLV_HOST_CONF",
    "GETCONF_DIR",
    "GCONV_PATH",
    "NLSPATH",
    "MALLOC_TRACE",
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "WAYLAND_SOCKET",
    "PULSE_SERVER",
    "PIPEWIRE_REMOTE",
    "XDG_RUNTIME_DIR",
    "SESSION_MANAGER",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "GNOME_KEYRING_CONTROL",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "CONTAINERD_ADDRESS",
    "BUILDKIT_HOST",
    "LIBVIRT_DEFAULT_URI",
    "GIT_PROXY_COMMAND",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "TMUX",
    "STY",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
};

static const char *const dropped_prefixes[] = {"LD_", "DBUS_", "SUDO_", "LIBVIRT_", "LXD_"};

/* http_proxy, HTTPS_PROXY, npm_config_proxy, npm_config_noproxy, ...: however it is written. */
static bool is_proxy_name(const char *name, size_t len)
{
    static const char tail[] = "proxy";
    size_t tail_len = sizeof(tail) - 1;

    return len >= tail_len && strncasecmp(name + len - tail_len, tail, tail_len) == 0;
}

static bool is_dropped(const char *variable)
{
    size_t len = strcspn(variable, "=");

    if (variable[len] != '=' || len == 0 || is_proxy_name(variable, len))
        return true;
    for (size_t i = 0; i < sizeof(dropped_names) / sizeof(dropped_names[0]); i++)
        if (strlen(dropped_names[i]) == len && memcmp(dropped_names[i], variable, len) == 0)
            return true;
    for (size_t i = 0; i < sizeof(dropped_prefixes) / sizeof(dropped_prefixes[0]); i++)
        if (strncmp(variable, dropped_prefixes[i], strlen(dropped_prefixes[i])) == 0)
            return true;
    return false;
}

char **cage_env_make(char *const *envp, const struct cage_account *account)
{
    const char *const set[][2] = {
        {"HOME", account->home},
        {"USER", account->name},
        {"LOGNAME", account->name},
        {"SHELL", account->shell},
    };
    size_t set_count = sizeof(set) / sizeof(set[0]);
    size_t count = 0;
    size_t text_len = 0;

    for (size_t i = 0; envp[i] != NULL; i++)
        count++;
    for (size_t i = 0; i < set_count; i++)
        text_len += strlen(set[i][0]) + strlen(set[i][1]) + 2;

    size_t slots_len = (count + set_count + 1) * sizeof(char *);
    char **env = malloc(slots_len + text_len);
    if (env == NULL)
        return NULL;

    char *text = (char *)env + slots_len;
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_dropped(envp[i]))
            env[used++] = envp[i];
    for (size_t i = 0; i < set_count; i++) {
        env[used++] = text;
        text += sprintf(text, "%s=%s", set[i][0], set[i][1]) + 1;
    }
    env[used] = NULL;
    return env;
}
