#include "config/public_suffix.h"

#include <libpsl.h>

bool public_suffix_is(const struct hostname *name)
{
    const psl_ctx_t *list = psl_builtin();

    if (span_find(hostname_span(name), '.') == name->len)
        return true;
    /* A library that was built without its list knows of no name that it is not a suffix. */
    if (list == NULL)
        return true;
    return psl_is_public_suffix2(list, name->text, PSL_TYPE_ICANN) != 0;
}
