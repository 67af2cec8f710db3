/* A cage must not widen itself: nothing on the way to its configuration may be its own. */
#include "config/load.h"

static void complain(const struct load_file *file, const struct load_step *step,
                     const struct account_ids *who, const char *role, enum access access,
                     struct faults *faults)
{
    char message[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(message);

    text_put(&text, role);
    text_put(&text, " (uid ");
    text_put_number(&text, who->uid);
    text_put(&text, ") ");
    text_put(&text, access_text(access));
    text_put_char(&text, ' ');
    text_put(&text, step->path);
    text_put(&text, " and could widen its own cage; keep the file where only others may write");
    faults_add(faults, file->name, 0, text_span(&text));
}

void load_judge(const struct load *load, const struct account_ids *who, const char *role,
                struct faults *faults)
{
    struct access_subject subject = {who->uid, who->gids, who->gid_count};

    for (size_t i = 0; i < load->file_count; i++) {
        const struct load_file *file = &load->files[i];
        for (size_t j = 0; j < file->step_count; j++) {
            enum access access = access_of(&file->steps[j].facts, &subject);
            if (access != ACCESS_NONE)
                complain(file, &file->steps[j], who, role, access, faults);
        }
    }
}
