#include "config/lua_token.h"

struct lua_tokens lua_tokens_of(struct span text)
{
    return (struct lua_tokens){text, 1};
}

static uint8_t byte_at(const struct lua_tokens *tokens, size_t at)
{
    return at < tokens->rest.len ? tokens->rest.data[at] : 0;
}

static bool is_end(const struct lua_tokens *tokens)
{
    return tokens->rest.len == 0;
}

static void skip(struct lua_tokens *tokens, size_t count)
{
    tokens->rest = span_from(tokens->rest, count);
}

static bool is_newline(uint8_t c)
{
    return c == '\n' || c == '\r';
}

/* One line break: "\n", "\r", "\r\n" or "\n\r". */
static void skip_newline(struct lua_tokens *tokens)
{
    uint8_t first = byte_at(tokens, 0);
    uint8_t second = byte_at(tokens, 1);

    skip(tokens, is_newline(second) && second != first ? 2 : 1);
    tokens->line++;
}

static void skip_byte(struct lua_tokens *tokens)
{
    if (is_newline(byte_at(tokens, 0)))
        skip_newline(tokens);
    else
        skip(tokens, 1);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(uint8_t c)
{
    uint8_t lower = ascii_lower(c);

    return (lower >= 'a' && lower <= 'z') || c == '_';
}

static bool is_word(uint8_t c)
{
    return is_letter(c) || ascii_is_digit(c);
}

/* Length of a "[", "=" * N, "[" that starts here, or 0. */
static size_t long_open_len(const struct lua_tokens *tokens)
{
    size_t at = 1;

    if (byte_at(tokens, 0) != '[')
        return 0;
    while (byte_at(tokens, at) == '=')
        at++;
    return byte_at(tokens, at) == '[' ? at + 1 : 0;
}

static bool is_long_close(const struct lua_tokens *tokens, size_t len)
{
    if (byte_at(tokens, 0) != ']' || byte_at(tokens, len - 1) != ']')
        return false;
    for (size_t i = 1; i < len - 1; i++) {
        if (byte_at(tokens, i) != '=')
            return false;
    }
    return true;
}

/* Skips a long bracket whose opening is `open_len` bytes; what stood inside. */
static struct span skip_long(struct lua_tokens *tokens, size_t open_len)
{
    skip(tokens, open_len);
    /* A line break right behind the opening is not part of the string. */
    if (is_newline(byte_at(tokens, 0)))
        skip_newline(tokens);
    struct span inside = tokens->rest;

    while (!is_end(tokens) && !is_long_close(tokens, open_len))
        skip_byte(tokens);
    inside.len -= tokens->rest.len;
    skip(tokens, open_len < tokens->rest.len ? open_len : tokens->rest.len);
    return inside;
}

static void skip_comment(struct lua_tokens *tokens)
{
    skip(tokens, 2);
    size_t open_len = long_open_len(tokens);

    if (open_len > 0) {
        skip_long(tokens, open_len);
        return;
    }
    while (!is_end(tokens) && !is_newline(byte_at(tokens, 0)))
        skip(tokens, 1);
}

static void skip_blank(struct lua_tokens *tokens)
{
    while (!is_end(tokens)) {
        if (is_space(byte_at(tokens, 0)))
            skip_byte(tokens);
        else if (byte_at(tokens, 0) == '-' && byte_at(tokens, 1) == '-')
            skip_comment(tokens);
        else
            return;
    }
}

/* The byte behind a backslash; "\z" takes all white space that follows. */
static void skip_escape(struct lua_tokens *tokens)
{
    skip(tokens, 1);
    if (is_end(tokens))
        return;
    bool takes_space = byte_at(tokens, 0) == 'z';

    skip_byte(tokens);
    while (takes_space && !is_end(tokens) && is_space(byte_at(tokens, 0)))
        skip_byte(tokens);
}

static void read_string(struct lua_tokens *tokens, struct lua_token *token)
{
    uint8_t quote = byte_at(tokens, 0);

    skip(tokens, 1);
    token->kind = LUA_TOKEN_STRING;
    token->text = tokens->rest;
    while (!is_end(tokens) && byte_at(tokens, 0) != quote && !is_newline(byte_at(tokens, 0))) {
        if (byte_at(tokens, 0) == '\\') {
            token->has_escapes = true;
            skip_escape(tokens);
        } else {
            skip(tokens, 1);
        }
    }
    token->text.len -= tokens->rest.len;
    if (!is_end(tokens) && byte_at(tokens, 0) == quote)
        skip(tokens, 1);
}

static void read_word(struct lua_tokens *tokens, struct lua_token *token)
{
    size_t len = 1;

    while (is_word(byte_at(tokens, len)))
        len++;
    token->kind = LUA_TOKEN_NAME;
    token->text = span_first(tokens->rest, len);
    skip(tokens, len);
}

static void read_number(struct lua_tokens *tokens, struct lua_token *token)
{
    size_t len = 1;

    for (;; len++) {
        uint8_t c = byte_at(tokens, len);
        uint8_t before = ascii_lower(byte_at(tokens, len - 1));
        bool is_sign = (c == '+' || c == '-') && (before == 'e' || before == 'p');
        if (!is_word(c) && c != '.' && !is_sign)
            break;
    }
    token->kind = LUA_TOKEN_NUMBER;
    token->text = span_first(tokens->rest, len);
    skip(tokens, len);
}

static void read_symbol(struct lua_tokens *tokens, struct lua_token *token)
{
    uint8_t c = byte_at(tokens, 0);
    bool is_pair = byte_at(tokens, 1) == '=' && (c == '=' || c == '~' || c == '<' || c == '>');

    token->kind = LUA_TOKEN_SYMBOL;
    token->text = span_first(tokens->rest, is_pair ? 2 : 1);
    skip(tokens, token->text.len);
}

struct lua_token lua_token_next(struct lua_tokens *tokens)
{
    skip_blank(tokens);
    struct lua_token token = {LUA_TOKEN_END, SPAN_NONE, false, tokens->line};
    uint8_t c = byte_at(tokens, 0);
    size_t open_len = long_open_len(tokens);

    if (is_end(tokens))
        return token;
    if (open_len > 0) {
        token.kind = LUA_TOKEN_STRING;
        token.text = skip_long(tokens, open_len);
    } else if (c == '"' || c == '\'') {
        read_string(tokens, &token);
    } else if (is_letter(c)) {
        read_word(tokens, &token);
    } else if (ascii_is_digit(c) || (c == '.' && ascii_is_digit(byte_at(tokens, 1)))) {
        read_number(tokens, &token);
    } else {
        read_symbol(tokens, &token);
    }
    return token;
}
