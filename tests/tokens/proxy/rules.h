/* Rules by which the proxy answers wrongly. One rule a line, the function first, then conditions and what to do:
 *
 *   C_Sign rv=0x30 skip=1 times=2      the second and third C_Sign answer CKR_DEVICE_ERROR and are not forwarded
 *   C_Login rv=0x5 after=1             forwarded, then answered with CKR_GENERAL_ERROR
 *   C_GetTokenInfo token=bad rv=0x30   the slot that holds the token with this label; its sessions count too
 *   C_GetMechanismInfo mechanism=0x40 rv=0x70      and C_SignInit, C_DecryptInit of that mechanism
 *   C_GetAttributeValue class=3 attribute=0x162 length=0     of private keys, an attribute of the wrong length;
 *                                      length=-1 is one that the token does not tell (CKR_ATTRIBUTE_TYPE_INVALID)
 *   C_FindObjectsInit class=3 rv=0x5   searches whose template names that class
 *   C_OpenSession sessions=2 rv=0xb1   once so many sessions are open
 *   C_GetTokenInfo set=0x10000 clear=0x400 serial=000 label=x       what CK_TOKEN_INFO says
 *   C_GetInfo manufacturer=Other       what CK_INFO says
 *   C_Initialize takes=0.5             seconds
 *
 * `times` and `skip` are counted from when the file was changed, in each process by itself. Text has no blanks.
 */
#include <sys/stat.h>

enum { MOST_RULES = 32, MOST_SESSIONS = 256 };

typedef struct { ulong type; void *value; ulong length; } attribute;

typedef struct {
    int place, after, seen;
    long mechanism, class, attribute, length, sessions, skip, times;
    int has_rv, has_length;
    ulong rv, set, clear;
    double takes;
    char token[33], serial[17], label[33], manufacturer[33];
} rule;

static rule rules[MOST_RULES];
static int rule_count;
static struct timespec rules_of;
static off_t rules_size;
static struct { ulong handle, slot; } sessions[MOST_SESSIONS];
static int session_count;
static volatile int rules_busy;

static void read_rule(char *line)
{
    rule r = { .place = -1, .mechanism = -1, .class = -1, .attribute = -1, .sessions = -1, .times = -1 };
    char *rest, *word = strtok_r(line, " \t\n", &rest);
    if (!word)
        return;
    for (int place = 0; place < FUNCTIONS; place++)
        if (!strcmp(word, names[place]))
            r.place = place;
    if (r.place < 0 || rule_count == MOST_RULES)
        abort();
    while ((word = strtok_r(NULL, " \t\n", &rest))) {
        char *value = strchr(word, '=');
        if (!value)
            abort();
        *value++ = 0;
        long number = (long)strtoul(value, NULL, 0);
        if (!strcmp(word, "rv")) r.has_rv = 1, r.rv = (ulong)number;
        else if (!strcmp(word, "after")) r.after = (int)number;
        else if (!strcmp(word, "token")) snprintf(r.token, sizeof r.token, "%-32s", value);
        else if (!strcmp(word, "mechanism")) r.mechanism = number;
        else if (!strcmp(word, "class")) r.class = number;
        else if (!strcmp(word, "attribute")) r.attribute = number;
        else if (!strcmp(word, "length")) r.has_length = 1, r.length = number;
        else if (!strcmp(word, "sessions")) r.sessions = number;
        else if (!strcmp(word, "skip")) r.skip = number;
        else if (!strcmp(word, "times")) r.times = number;
        else if (!strcmp(word, "set")) r.set = (ulong)number;
        else if (!strcmp(word, "clear")) r.clear = (ulong)number;
        else if (!strcmp(word, "takes")) r.takes = atof(value);
        else if (!strcmp(word, "serial")) snprintf(r.serial, sizeof r.serial, "%-16s", value);
        else if (!strcmp(word, "label")) snprintf(r.label, sizeof r.label, "%-32s", value);
        else if (!strcmp(word, "manufacturer")) snprintf(r.manufacturer, sizeof r.manufacturer, "%-32s", value);
        else abort();
    }
    rules[rule_count++] = r;
}

static void read_rules(void)
{
    const char *path = getenv("PROXY_RULES");
    struct stat status;
    if (!path || stat(path, &status)) {
        rule_count = 0;
        rules_size = -1;
        return;
    }
    if (status.st_size == rules_size && !memcmp(&status.st_mtim, &rules_of, sizeof rules_of))
        return;
    rules_size = status.st_size;
    rules_of = status.st_mtim;
    rule_count = 0;
    FILE *file = fopen(path, "re");
    char line[512];
    while (file && fgets(line, sizeof line, file))
        read_rule(line);
    if (file)
        fclose(file);
}

/* The slot that a call is about: named by itself, or that of its session. */
static ulong slot_of(int place, ulong first)
{
    if (place == GET_SLOT_INFO || place == GET_TOKEN_INFO || place == GET_MECHANISM_LIST || place == GET_MECHANISM_INFO ||
        place == INIT_TOKEN || place == OPEN_SESSION || place == CLOSE_ALL_SESSIONS)
        return first;
    for (int index = 0; index < session_count; index++)
        if (sessions[index].handle == first)
            return sessions[index].slot;
    return (ulong)-1;
}

static int holds(ulong slot, const char *label)
{
    char info[256];
    return !forward(GET_TOKEN_INFO, slot, (ulong)info, 0, 0, 0, 0, 0, 0) && !memcmp(info, label, 32);
}

static ulong class_of(ulong session, ulong object)
{
    ulong class = (ulong)-1;
    attribute wanted = { 0, &class, sizeof class };
    forward(GET_ATTRIBUTE_VALUE, session, object, (ulong)&wanted, 1, 0, 0, 0, 0);
    return class;
}

static int is_init(int place)
{
    return place == 29 || place == 33 || place == 37 || place == 42 || place == 46 || place == 48;
}

static int applies(const rule *r, int place, int after, const ulong *arguments)
{
    int rewrites = r->has_length || r->set || r->clear || r->serial[0] || r->label[0] || r->manufacturer[0];
    if (r->place != place || after != (r->after || rewrites))
        return 0;
    if (r->token[0] && !holds(slot_of(place, arguments[0]), r->token))
        return 0;
    if (r->mechanism >= 0) {
        ulong mechanism = place == GET_MECHANISM_INFO ? arguments[1] : is_init(place) ? *(ulong *)arguments[1] : -1UL;
        if (mechanism != (ulong)r->mechanism)
            return 0;
    }
    if (r->class >= 0 && place == GET_ATTRIBUTE_VALUE && class_of(arguments[0], arguments[1]) != (ulong)r->class)
        return 0;
    if (r->class >= 0 && place == FIND_OBJECTS_INIT) {
        const attribute *template = (const attribute *)arguments[1];
        int found = 0;
        for (ulong index = 0; index < arguments[2]; index++)
            found |= template[index].type == 0 && *(ulong *)template[index].value == (ulong)r->class;
        if (!found)
            return 0;
    }
    return r->sessions < 0 || session_count >= r->sessions;
}

static void rewrite(const rule *r, int place, const ulong *arguments, ulong *rv)
{
    if (place == GET_TOKEN_INFO && !*rv) { /* label, manufacturerID, model, serialNumber, flags: PKCS#11 v2.40, 3.2 */
        char *info = (char *)arguments[1];
        ulong *flags = (ulong *)(info + 96);
        if (r->label[0])
            memcpy(info, r->label, 32);
        if (r->manufacturer[0])
            memcpy(info + 32, r->manufacturer, 32);
        if (r->serial[0])
            memcpy(info + 80, r->serial, 16);
        *flags = (*flags | r->set) & ~r->clear;
    } else if (place == GET_INFO && r->manufacturer[0] && !*rv) {
        memcpy((char *)arguments[0] + 2, r->manufacturer, 32);
    } else if (place == GET_ATTRIBUTE_VALUE) {
        attribute *asked = (attribute *)arguments[2];
        for (ulong index = 0; index < arguments[3]; index++)
            if (asked[index].type == (ulong)r->attribute) {
                asked[index].length = (ulong)r->length;
                if (r->length == -1 && !*rv)
                    *rv = 0x12; /* CKR_ATTRIBUTE_TYPE_INVALID */
            }
    }
}

/* Whether a rule has the last word: before the call is forwarded, or `after` it. */
static int refused(int place, int after, const ulong *arguments, ulong *rv)
{
    int decided = 0;
    double takes = 0;
    while (__atomic_exchange_n(&rules_busy, 1, __ATOMIC_SEQ_CST))
        nap(0.0001);
    if (!after)
        read_rules();
    for (int index = 0; index < rule_count && !decided; index++) {
        rule *r = &rules[index];
        if (!applies(r, place, after, arguments))
            continue;
        int seen = r->seen++;
        if (seen < r->skip || (r->times >= 0 && seen >= r->skip + r->times))
            continue;
        takes = r->takes;
        if (after)
            rewrite(r, place, arguments, rv);
        if (r->has_rv) {
            *rv = r->rv;
            decided = 1;
        }
    }
    rules_busy = 0;
    nap(takes);
    return decided;
}

static void follow_sessions(int place, const ulong *arguments)
{
    while (__atomic_exchange_n(&rules_busy, 1, __ATOMIC_SEQ_CST))
        nap(0.0001);
    if (place == OPEN_SESSION && session_count < MOST_SESSIONS) {
        sessions[session_count].handle = *(ulong *)arguments[4];
        sessions[session_count++].slot = arguments[0];
    } else if (place == INITIALIZE || place == FINALIZE) {
        session_count = 0;
    }
    for (int index = session_count - 1; index >= 0; index--) {
        int ended = (place == CLOSE_SESSION && sessions[index].handle == arguments[0]) ||
                    (place == CLOSE_ALL_SESSIONS && sessions[index].slot == arguments[0]);
        if (ended)
            sessions[index] = sessions[--session_count];
    }
    rules_busy = 0;
}
