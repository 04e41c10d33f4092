/* The functions of PKCS#11 in the order of CK_FUNCTION_LIST (v2.40 and v3.1, 6.2), and what their arguments are. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

typedef unsigned long ulong;
typedef struct { unsigned char version[2]; void *call[68]; } function_list;
typedef ulong (*function)(ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong);
typedef struct { ulong type; void *value; ulong length; } attribute;

#define EACH_FUNCTION(X) \
    X(Initialize) X(Finalize) X(GetInfo) X(GetFunctionList) X(GetSlotList) X(GetSlotInfo) X(GetTokenInfo) \
    X(GetMechanismList) X(GetMechanismInfo) X(InitToken) X(InitPIN) X(SetPIN) X(OpenSession) X(CloseSession) \
    X(CloseAllSessions) X(GetSessionInfo) X(GetOperationState) X(SetOperationState) X(Login) X(Logout) \
    X(CreateObject) X(CopyObject) X(DestroyObject) X(GetObjectSize) X(GetAttributeValue) X(SetAttributeValue) \
    X(FindObjectsInit) X(FindObjects) X(FindObjectsFinal) X(EncryptInit) X(Encrypt) X(EncryptUpdate) X(EncryptFinal) \
    X(DecryptInit) X(Decrypt) X(DecryptUpdate) X(DecryptFinal) X(DigestInit) X(Digest) X(DigestUpdate) X(DigestKey) \
    X(DigestFinal) X(SignInit) X(Sign) X(SignUpdate) X(SignFinal) X(SignRecoverInit) X(SignRecover) X(VerifyInit) \
    X(Verify) X(VerifyUpdate) X(VerifyFinal) X(VerifyRecoverInit) X(VerifyRecover) X(DigestEncryptUpdate) \
    X(DecryptDigestUpdate) X(SignEncryptUpdate) X(DecryptVerifyUpdate) X(GenerateKey) X(GenerateKeyPair) X(WrapKey) \
    X(UnwrapKey) X(DeriveKey) X(SeedRandom) X(GenerateRandom) X(GetFunctionStatus) X(CancelFunction) X(WaitForSlotEvent)

#define PLACE(name) name,
enum { EACH_FUNCTION(PLACE) FUNCTIONS, ANY = FUNCTIONS, NONE = -1 };
#define NAME(name) "C_" #name,
static const char *const names[FUNCTIONS + 1] = { EACH_FUNCTION(NAME) "*" };

static int takes_slot(int place)
{
    return place == GetSlotInfo || place == GetTokenInfo || place == GetMechanismList || place == GetMechanismInfo ||
           place == InitToken || place == OpenSession || place == CloseAllSessions;
}

static int takes_session(int place)
{
    return !takes_slot(place) && place != Initialize && place != Finalize && place != GetInfo &&
           place != GetFunctionList && place != GetSlotList && place != WaitForSlotEvent;
}

/* The arguments that are templates: where the attributes are; their number follows. */
static int template_of(int place, int second)
{
    switch (place) {
    case CreateObject: case FindObjectsInit: return second ? NONE : 1;
    case CopyObject: case GetAttributeValue: case SetAttributeValue: case GenerateKey: return second ? NONE : 2;
    case GenerateKeyPair: return second ? 4 : 2;
    case DeriveKey: return second ? NONE : 3;
    case UnwrapKey: return second ? NONE : 5;
    default: return NONE;
    }
}

/* The argument that points to the length of the output, or the number of slots, mechanisms, objects. */
static int length_of(int place)
{
    switch (place) {
    case GetSlotList: case GetMechanismList: case GetOperationState: case EncryptFinal: case DecryptFinal:
    case DigestFinal: case SignFinal: return 2;
    case FindObjects: return 3;
    case Encrypt: case EncryptUpdate: case Decrypt: case DecryptUpdate: case Digest: case Sign: case SignRecover:
    case VerifyRecover: return 4;
    case WrapKey: return 5;
    default: return NONE;
    }
}

static int takes_mechanism(int place)
{
    return place == EncryptInit || place == DecryptInit || place == DigestInit || place == SignInit ||
           place == SignRecoverInit || place == VerifyInit || place == VerifyRecoverInit || place == GenerateKey ||
           place == GenerateKeyPair || place == WrapKey || place == UnwrapKey || place == DeriveKey;
}

#endif
