/* Rules by which the proxy answers wrongly. One rule a line: the function (`*`: any), then conditions and what to do.
 *
 * Conditions:
 *   skip=1 times=2       not the first such call, then two of them; counted in each process since the file was changed
 *   token=bad            calls about the token with this label, in its sessions too
 *   slot=77              the same by the number of the slot
 *   sessions=2           once so many sessions are open
 *   mechanism=0x40       calls that begin with this mechanism, and C_GetMechanismInfo of it
 *   class=3              templates that name this class; C_GetAttributeValue of such objects
 *   attribute=0x162      templates that name this attribute, and C_GetAttributeValue that asks for it
 * What to do:
 *   rv=0x30              answer so, and do not forward the call; with after=1, forward it and answer so
 *   takes=0.5            seconds, before the call is forwarded; with after=1, once the token has answered
 *   hang=1               the same until the line is no longer in the file; then the call goes on
 *   lose=session         lose the session of the call before it is forwarded; lose=sessions: all sessions with that
 *                        token. A call that uses such a session already goes on, and no other one may. lose=login: log out; lose=module: finalise the module
 *   lose=token           the same as sessions, and the token is absent until the line is no longer in the file
 *   length=0, more=-1    what an attribute or an output (C_Sign, C_FindObjects, C_GetSlotList, ...) has for a length.
 *                        An attribute of length=-1 is one that the token does not have (CKR_ATTRIBUTE_TYPE_INVALID)
 *   flip=1               change a bit of the output
 *   set=0x10000 clear=0x400 serial=000 label=x manufacturer=y       what CK_TOKEN_INFO says; CK_INFO: manufacturer
 * Slots that do not exist:
 *   C_GetSlotList invent=77 copy=bad        a slot with the token of this label (they share one login, as one token)
 *   C_GetSlotList invent=77 fails=0xe0      a slot that says a token is present and answers so to everything else
 *
 * Examples:
 *   C_Sign rv=0x30 skip=1 times=2           the second and third C_Sign answer CKR_DEVICE_ERROR
 *   C_GenerateKeyPair hang=1 after=1        the key pair is there, the answer is not
 *   * token=bad hang=1                      an HSM that hangs
 *
 * Text has no blanks. A rule that cannot be read ends the process.
 */
#include <sys/stat.h>

enum { MOST_RULES = 64, LONGEST_RULE = 256 };
enum { LOSE_NOTHING, LOSE_SESSION, LOSE_SESSIONS, LOSE_LOGIN, LOSE_MODULE, LOSE_TOKEN };

typedef struct {
    int place, after, seen, has_rv, has_length, hang, lose, flip;
    long mechanism, class, attribute, slot, sessions, skip, times, length, more, invent;
    ulong rv, set, clear, fails;
    double takes;
    char token[33], copy[33], serial[17], label[33], manufacturer[33], text[LONGEST_RULE];
} rule;

static rule rules[MOST_RULES];
static int rule_count;
static struct timespec rules_of;
static off_t rules_size;
static ino_t rules_inode;
static volatile int rules_busy;

/* What follows is used between lock and unlock. No call waits in between: it would stop every other one. */
static void lock(void)
{
    while (__atomic_exchange_n(&rules_busy, 1, __ATOMIC_SEQ_CST))
        nap(0.0001);
}

static void unlock(void)
{
    __atomic_store_n(&rules_busy, 0, __ATOMIC_SEQ_CST);
}

static int loss(const char *what)
{
    static const char *const losses[] = { "nothing", "session", "sessions", "login", "module", "token" };
    for (int index = LOSE_SESSION; index <= LOSE_TOKEN; index++)
        if (!strcmp(what, losses[index]))
            return index;
    abort();
}

static void read_word(rule *r, const char *word, const char *value)
{
    long number = (long)strtoul(value, NULL, 0);
    if (!strcmp(word, "rv")) r->has_rv = 1, r->rv = (ulong)number;
    else if (!strcmp(word, "after")) r->after = (int)number;
    else if (!strcmp(word, "token")) snprintf(r->token, sizeof r->token, "%-32s", value);
    else if (!strcmp(word, "slot")) r->slot = number;
    else if (!strcmp(word, "mechanism")) r->mechanism = number;
    else if (!strcmp(word, "class")) r->class = number;
    else if (!strcmp(word, "attribute")) r->attribute = number;
    else if (!strcmp(word, "length")) r->has_length = 1, r->length = number;
    else if (!strcmp(word, "more")) r->more = number;
    else if (!strcmp(word, "flip")) r->flip = (int)number;
    else if (!strcmp(word, "sessions")) r->sessions = number;
    else if (!strcmp(word, "skip")) r->skip = number;
    else if (!strcmp(word, "times")) r->times = number;
    else if (!strcmp(word, "set")) r->set = (ulong)number;
    else if (!strcmp(word, "clear")) r->clear = (ulong)number;
    else if (!strcmp(word, "takes")) r->takes = atof(value);
    else if (!strcmp(word, "hang")) r->hang = (int)number;
    else if (!strcmp(word, "lose")) r->lose = loss(value);
    else if (!strcmp(word, "invent")) r->invent = number;
    else if (!strcmp(word, "copy")) snprintf(r->copy, sizeof r->copy, "%-32s", value);
    else if (!strcmp(word, "fails")) r->fails = (ulong)number;
    else if (!strcmp(word, "serial")) snprintf(r->serial, sizeof r->serial, "%-16s", value);
    else if (!strcmp(word, "label")) snprintf(r->label, sizeof r->label, "%-32s", value);
    else if (!strcmp(word, "manufacturer")) snprintf(r->manufacturer, sizeof r->manufacturer, "%-32s", value);
    else abort();
}

static void read_rule(char *line)
{
    rule r = { .place = NONE, .mechanism = -1, .class = -1, .attribute = -1, .slot = -1, .sessions = -1, .times = -1,
               .invent = -1 };
    snprintf(r.text, sizeof r.text, "%s", line);
    char *rest, *word = strtok_r(line, " \t\n", &rest);
    if (!word)
        return;
    for (int place = 0; place <= ANY; place++)
        if (!strcmp(word, names[place]))
            r.place = place;
    if (r.place == NONE || rule_count == MOST_RULES)
        abort();
    while ((word = strtok_r(NULL, " \t\n", &rest))) {
        char *value = strchr(word, '=');
        if (!value)
            abort();
        *value++ = 0;
        read_word(&r, word, value);
    }
    rules[rule_count++] = r;
}

static void read_rules(void)
{
    const char *path = setting("PROXY_RULES");
    struct stat status;
    if (!path || stat(path, &status)) {
        rule_count = 0;
        rules_size = -1;
        return;
    }
    int same = status.st_size == rules_size && status.st_ino == rules_inode;
    if (same && !memcmp(&status.st_mtim, &rules_of, sizeof rules_of))
        return;
    rules_inode = status.st_ino;
    rules_size = status.st_size;
    rules_of = status.st_mtim;
    rule_count = 0;
    FILE *file = fopen(path, "re");
    char line[LONGEST_RULE];
    while (file && fgets(line, sizeof line, file))
        read_rule(line);
    if (file)
        fclose(file);
}

/* Whether a line of the rules is in the file still. */
static int is_there(const char *text)
{
    read_rules();
    for (int index = 0; index < rule_count; index++)
        if (!strcmp(rules[index].text, text))
            return 1;
    return 0;
}
