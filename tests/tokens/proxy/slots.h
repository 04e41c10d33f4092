/* Sessions and their slots; slots that a rule invents; tokens that a rule took away.
 *
 * A token that loses a session refuses it from then on, and does nothing to a call that uses it already. SoftHSM frees a
 * session that is closed, also while another thread is in a call with it, which then crashes. So a session that is lost
 * is closed there when no call uses it any more.
 */
enum { MOST_SESSIONS = 1024, MOST_SLOTS = 4096 };

/* is_known: the slot of a session that is lost and closed is still told, because its token is absent. */
static struct { ulong handle, slot; int calls, is_lost, is_closed, is_known; } sessions[MOST_SESSIONS];
static int session_count;
static struct { ulong slot; char text[LONGEST_RULE]; } lost[MOST_SLOTS];
static int lost_count;

/* The slot that a call is about: named by itself, or that of its session. */
static ulong slot_of(int place, ulong first)
{
    if (takes_slot(place))
        return first;
    for (int index = 0; index < session_count; index++)
        if (sessions[index].handle == first)
            return sessions[index].slot;
    return (ulong)-1;
}

static int holds(ulong slot, const char *label)
{
    char info[256];
    return !forward(GetTokenInfo, slot, (ulong)info, 0, 0, 0, 0, 0, 0) && !memcmp(info, label, 32);
}

static ulong slot_with(const char *label)
{
    ulong slots[MOST_SLOTS], count = MOST_SLOTS;
    if (!forward(GetSlotList, 1, (ulong)slots, (ulong)&count, 0, 0, 0, 0, 0))
        for (ulong index = 0; index < count; index++)
            if (holds(slots[index], label))
                return slots[index];
    return (ulong)-1;
}

static const rule *invention(ulong slot)
{
    for (int index = 0; index < rule_count; index++)
        if (rules[index].invent >= 0 && (ulong)rules[index].invent == slot)
            return &rules[index];
    return NULL;
}

/* The slot of the other module: that of the token which an invented one copies. */
static ulong real_slot(ulong slot)
{
    const rule *invented = invention(slot);
    return invented && invented->copy[0] ? slot_with(invented->copy) : slot;
}

static int place_of(int place, ulong handle)
{
    for (int index = 0; takes_session(place) && index < session_count; index++)
        if (sessions[index].handle == handle)
            return index;
    return NONE;
}

/* Close a session that is lost and that no call uses, and forget it unless it must be known. */
static void settle(int index)
{
    if (!sessions[index].is_lost || sessions[index].calls)
        return;
    if (!sessions[index].is_closed)
        forward(CloseSession, sessions[index].handle, 0, 0, 0, 0, 0, 0, 0);
    sessions[index].is_closed = 1;
    if (!sessions[index].is_known)
        sessions[index] = sessions[--session_count];
}

static void lose_session(int index, int is_known)
{
    sessions[index].is_lost = 1;
    sessions[index].is_known = is_known;
    settle(index);
}

static void lose_sessions(ulong slot, int is_known)
{
    for (int index = session_count - 1; index >= 0; index--)
        if (sessions[index].slot == slot)
            lose_session(index, is_known);
}

/* Whether the session of a call is lost; else the call uses it until end_use. */
static int begin_use(int place, ulong handle)
{
    int index = place_of(place, handle);
    if (index == NONE)
        return 0;
    sessions[index].calls += !sessions[index].is_lost;
    return sessions[index].is_lost;
}

static void end_use(int place, ulong handle)
{
    int index = place_of(place, handle);
    if (index == NONE || !sessions[index].calls)
        return;
    sessions[index].calls--;
    settle(index);
}

static void forget_sessions(ulong slot)
{
    for (int index = session_count - 1; index >= 0; index--)
        if (sessions[index].slot == slot)
            sessions[index] = sessions[--session_count];
}

static int is_lost(ulong slot)
{
    for (int index = lost_count - 1; index >= 0; index--) {
        if (!is_there(lost[index].text)) {
            lose_sessions(lost[index].slot, 0);
            lost[index] = lost[--lost_count];
        } else if (lost[index].slot == slot)
            return 1;
    }
    return 0;
}

static void lose(const rule *r, int place, const ulong *x)
{
    ulong slot = slot_of(place, x[0]);
    if (place == GetSlotList && r->token[0])
        slot = slot_with(r->token);
    if (r->lose == LOSE_MODULE) {
        forward(Finalize, 0, 0, 0, 0, 0, 0, 0, 0);
        session_count = 0;
    } else if (r->lose == LOSE_SESSION && place_of(place, x[0]) != NONE) {
        lose_session(place_of(place, x[0]), 0);
    } else if (r->lose == LOSE_LOGIN && !takes_slot(place)) {
        forward(Logout, x[0], 0, 0, 0, 0, 0, 0, 0);
    } else if ((r->lose == LOSE_SESSIONS || r->lose == LOSE_TOKEN) && slot != (ulong)-1 && !is_lost(slot)) {
        lose_sessions(slot, r->lose == LOSE_TOKEN);
        if (r->lose == LOSE_TOKEN && lost_count < MOST_SLOTS) {
            lost[lost_count].slot = slot;
            strcpy(lost[lost_count++].text, r->text);
        }
    }
}

/* What a call about a slot without a token, or about an invented one that fails, is answered with. */
static int is_absent(int place, const ulong *x, ulong *rv)
{
    ulong slot = slot_of(place, x[0]);
    int away = slot != (ulong)-1 && is_lost(slot);
    const rule *invented = invention(slot);
    int fails = invented && !invented->copy[0];
    if (!away && !fails)
        return 0;
    if (place == GetSlotInfo) { /* slotDescription, manufacturerID, flags: PKCS#11 v3.1, 3.2 */
        memset((char *)x[1], ' ', 96);
        memset((char *)x[1] + 96, 0, sizeof(ulong) + 4);
        *(ulong *)((char *)x[1] + 96) = away ? 0x2 : 0x1; /* CKF_REMOVABLE_DEVICE, CKF_TOKEN_PRESENT */
        *rv = 0;
    } else {
        *rv = fails ? invented->fails : takes_slot(place) ? 0xe0 : 0x32; /* CKR_TOKEN_NOT_PRESENT, _DEVICE_REMOVED */
    }
    return 1;
}

/* C_GetSlotList: without the slots whose token is lost, and with the invented ones. */
static void list_slots(const ulong *x, ulong *rv, ulong room)
{
    ulong *list = (ulong *)x[1], *count = (ulong *)x[2], all[MOST_SLOTS], real_count = MOST_SLOTS, kept = 0;
    if ((!lost_count && !rule_count) || (*rv && *rv != 0x150)) /* CKR_BUFFER_TOO_SMALL */
        return;
    if (forward(GetSlotList, x[0], (ulong)all, (ulong)&real_count, 0, 0, 0, 0, 0))
        return;
    for (ulong index = 0; index < real_count; index++)
        if (!x[0] || !is_lost(all[index]))
            all[kept++] = all[index];
    for (int index = 0; index < rule_count && kept < MOST_SLOTS; index++)
        if (rules[index].invent >= 0 && !(x[0] && is_lost((ulong)rules[index].invent)))
            all[kept++] = (ulong)rules[index].invent;
    *count = kept;
    *rv = list && room < kept ? 0x150 : 0;
    if (list && !*rv)
        memcpy(list, all, kept * sizeof *list);
}

static void follow_sessions(int place, const ulong *x)
{
    if (place == OpenSession && session_count < MOST_SESSIONS) {
        memset(&sessions[session_count], 0, sizeof sessions[0]);
        sessions[session_count].handle = *(ulong *)x[4];
        sessions[session_count++].slot = x[0];
    } else if (place == Initialize || place == Finalize) {
        session_count = 0;
    } else if (place == CloseAllSessions) {
        forget_sessions(x[0]);
    } else if (place == CloseSession) {
        for (int index = session_count - 1; index >= 0; index--)
            if (sessions[index].handle == x[0])
                sessions[index] = sessions[--session_count];
    }
}
