/* Which rules apply to a call, and what they make of it. */
typedef struct { int decided, hangs, flips; double takes; char text[LONGEST_RULE]; } decision;

static ulong class_of(ulong session, ulong object)
{
    ulong class = (ulong)-1;
    attribute wanted = { 0, &class, sizeof class };
    forward(GetAttributeValue, session, object, (ulong)&wanted, 1, 0, 0, 0, 0);
    return class;
}

/* Whether a template of the call names an attribute; of a CKA_CLASS, also with which value. */
static int mentions(int place, const ulong *x, ulong type, long value)
{
    for (int second = 0; second < 2; second++) {
        int at = template_of(place, second);
        for (ulong index = 0; at != NONE && index < x[at + 1]; index++) {
            const attribute *named = (const attribute *)x[at] + index;
            if (named->type == type && (value < 0 || *(ulong *)named->value == (ulong)value))
                return 1;
        }
    }
    return 0;
}

static int applies(const rule *r, int place, int after, const ulong *x)
{
    int rewrites = r->has_length || r->more || r->flip || r->set || r->clear || r->serial[0] || r->label[0] ||
                   r->manufacturer[0];
    if ((r->place != place && r->place != ANY) || after != (r->after || rewrites) || r->invent >= 0)
        return 0;
    if (r->slot >= 0 && slot_of(place, x[0]) != (ulong)r->slot)
        return 0;
    if (r->token[0] && !(place == GetSlotList && r->lose == LOSE_TOKEN) && !holds(real_slot(slot_of(place, x[0])), r->token))
        return 0;
    if (r->mechanism >= 0) {
        ulong mechanism = place == GetMechanismInfo ? x[1] : takes_mechanism(place) ? *(ulong *)x[1] : -1UL;
        if (mechanism != (ulong)r->mechanism)
            return 0;
    }
    if (r->class >= 0 && (place == GetAttributeValue ? class_of(x[0], x[1]) != (ulong)r->class
                                                     : !mentions(place, x, 0, r->class)))
        return 0;
    if (r->attribute >= 0 && !mentions(place, x, (ulong)r->attribute, -1))
        return 0;
    return r->sessions < 0 || session_count >= r->sessions;
}

static ulong other_length(const rule *r, ulong length)
{
    return (r->has_length ? (ulong)r->length : length) + (ulong)r->more;
}

static void rewrite(const rule *r, int place, const ulong *x, ulong *rv)
{
    int length = length_of(place);
    if (place == GetTokenInfo && !*rv) { /* label, manufacturerID, model, serialNumber, flags: PKCS#11 v3.1, 3.2 */
        char *info = (char *)x[1];
        ulong *flags = (ulong *)(info + 96);
        if (r->label[0])
            memcpy(info, r->label, 32);
        if (r->manufacturer[0])
            memcpy(info + 32, r->manufacturer, 32);
        if (r->serial[0])
            memcpy(info + 80, r->serial, 16);
        *flags = (*flags | r->set) & ~r->clear;
    } else if (place == GetInfo && r->manufacturer[0] && !*rv) {
        memcpy((char *)x[0] + 2, r->manufacturer, 32);
    } else if (place == GetAttributeValue && (r->has_length || r->more)) {
        attribute *asked = (attribute *)x[2];
        for (ulong index = 0; index < x[3]; index++)
            if (asked[index].type == (ulong)r->attribute) {
                asked[index].length = other_length(r, asked[index].length);
                if (r->length == -1 && !*rv)
                    *rv = 0x12; /* CKR_ATTRIBUTE_TYPE_INVALID */
            }
    } else if (length != NONE && !*rv) {
        ulong *told = (ulong *)x[length];
        if (r->flip && x[length - 1] && *told)
            *(unsigned char *)x[length - 1] ^= 1;
        *told = other_length(r, *told);
    }
}

/* What the rules make of a call: before it is forwarded, or after it. */
static decision decide(int place, int after, const ulong *x, ulong *rv)
{
    decision d = { 0 };
    for (int index = 0; index < rule_count && !d.decided; index++) {
        rule *r = &rules[index];
        if (!applies(r, place, after, x))
            continue;
        int seen = r->seen++;
        if (seen < r->skip || (r->times >= 0 && seen >= r->skip + r->times))
            continue;
        if (r->lose)
            lose(r, place, x);
        if (after)
            rewrite(r, place, x, rv);
        if (r->hang) {
            d.hangs = 1;
            strcpy(d.text, r->text);
        }
        d.takes += r->takes;
        if (r->has_rv) {
            *rv = r->rv;
            d.decided = 1;
        }
    }
    return d;
}

/* Take the time that the rules ask for. Others may call meanwhile. */
static void wait_for(const decision *d)
{
    int hangs = d->hangs;
    nap(d->takes);
    while (hangs) {
        nap(0.005);
        lock();
        hangs = is_there(d->text);
        unlock();
    }
}
