/*
 * fuzz_token.c: what a stranger shows as a token: base64 in all its forms, the verifier, and, as if the signature had
 * been right, the term inside and the search for a user in it. The first byte chooses.
 */
#include "base64.h"
#include "fuzz.h"
#include "origin.h"
#include "phoenix_token.h"

static void check_origins(struct slice text)
{
    struct origin o, pattern;
    bool is = origin_parse(text, &o) == BG_OK;
    if (is)
        assert_always(o.host.len > 0 && o.host.ptr >= text.ptr && slice_end(o.host) <= slice_end(text));
    if (origin_parse_pattern(text, &pattern) == BG_OK && is)
        (void)origin_matches(&o, &pattern);
    (void)(origin_parse_host(text, &pattern) == BG_OK);
}

/* Signs what the fuzzer made up: the way to the content is open. */
static void check_content(struct slice bytes)
{
    struct buf id;
    struct slice at;
    size_t used;
    if (term_check(bytes.ptr, bytes.len, TOKEN_DEPTH_MAX, &used, NULL) != BG_OK)
        return;
    buf_init(&id, 1024);
    if (token_find(slice_make(bytes.ptr, used), "user.id", &at) && token_put_id(at, &id) == BG_OK)
        assert_always(id.len > 0 && !memchr(id.data, '\0', id.len));
    buf_fini(&id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[PHOENIX_TOKEN_KEY];
    struct buf scratch;
    struct slice found;
    if (size == 0)
        return 0;
    struct slice text = slice_make(data + 1, size - 1);
    buf_init(&scratch, TOKEN_MAX);
    if (data[0] % 4 == 0)
        check_origins(text);
    else if (data[0] % 4 == 1)
        check_content(text);
    else if (data[0] % 4 == 2)
        (void)(base64_decode(text, &scratch) == BG_OK);
    else
        assert_always(phoenix_token_verify(key, text, 0, 0, &scratch, &found) != TOKEN_OK);
    buf_fini(&scratch);
    return 0;
}
