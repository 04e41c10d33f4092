/* A reader with a pin pad, for pcscd: Debian's virtual reader with FEATURE_VERIFY_PIN_DIRECT added (PC/SC part 10).
 *
 * Everything is passed on to vpcd's own driver, which stands beside this one as NAME.so.vpcd. What the person "types"
 * is the content of NAME.so.typed; until that file is there nobody types, and after the time that the host stated
 * (bTimerOut) the reader answers 6400 (timed out).
 *
 *   cc -shared -fPIC -I/usr/include/PCSC -o NAME.so pinpad_driver.c -ldl
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <ifdhandler.h>
#include <reader.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VERIFY_CODE SCARD_CTL_CODE(3401)
#define SHORTEST 4
#define LOOK 50000 /* microseconds */

static const char *here(void) {
    Dl_info info;
    return dladdr((void *)here, &info) ? info.dli_fname : "";
}

static void *real(const char *name) {
    static void *driver;
    char path[4096];
    if (!driver) {
        snprintf(path, sizeof path, "%s.vpcd", here());
        driver = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return driver ? dlsym(driver, name) : NULL;
}

#define PASS_ON(name, parameters, arguments) \
    RESPONSECODE name parameters { return ((RESPONSECODE(*) parameters)real(#name)) arguments; }

PASS_ON(IFDHCreateChannelByName, (DWORD lun, LPSTR device), (lun, device))
PASS_ON(IFDHCreateChannel, (DWORD lun, DWORD channel), (lun, channel))
PASS_ON(IFDHCloseChannel, (DWORD lun), (lun))
PASS_ON(IFDHGetCapabilities, (DWORD lun, DWORD tag, PDWORD length, PUCHAR value), (lun, tag, length, value))
PASS_ON(IFDHSetCapabilities, (DWORD lun, DWORD tag, DWORD length, PUCHAR value), (lun, tag, length, value))
PASS_ON(IFDHSetProtocolParameters, (DWORD lun, DWORD protocol, UCHAR flags, UCHAR pts1, UCHAR pts2, UCHAR pts3),
        (lun, protocol, flags, pts1, pts2, pts3))
PASS_ON(IFDHPowerICC, (DWORD lun, DWORD action, PUCHAR atr, PDWORD length), (lun, action, atr, length))
PASS_ON(IFDHTransmitToICC,
        (DWORD lun, SCARD_IO_HEADER send, PUCHAR tx, DWORD tx_length, PUCHAR rx, PDWORD rx_length, PSCARD_IO_HEADER receive),
        (lun, send, tx, tx_length, rx, rx_length, receive))
PASS_ON(IFDHICCPresence, (DWORD lun), (lun))

static size_t typed(char *pin, size_t space) {
    char path[4096];
    snprintf(path, sizeof path, "%s.typed", here());
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t length = fread(pin, 1, space, file);
    fclose(file);
    return length;
}

static DWORD status(PUCHAR rx, unsigned char sw1, unsigned char sw2) {
    rx[0] = sw1;
    rx[1] = sw2;
    return 2;
}

/* The VERIFY command with the PIN in its place: at the beginning of a padded block, or as the whole data field. */
static DWORD verify(DWORD lun, const PIN_VERIFY_STRUCTURE *asked, PUCHAR rx) {
    unsigned char apdu[300], pin[128];
    size_t length = typed((char *)pin, sizeof pin), block = asked->bmPINBlockString & 0x0F;
    for (long left = asked->bTimerOut * 1000000L; length < SHORTEST && left > 0; left -= LOOK) {
        usleep(LOOK);
        length = typed((char *)pin, sizeof pin);
    }
    if (length < SHORTEST) return status(rx, 0x64, 0x00);
    if (length < asked->wPINMaxExtraDigit >> 8 || length > (asked->wPINMaxExtraDigit & 0xFF)) return status(rx, 0x64, 0x03);
    memcpy(apdu, asked->abData, asked->ulDataLength);
    memcpy(apdu + 5, pin, length);
    if (!block) apdu[4] = (unsigned char)length;
    SCARD_IO_HEADER send = {0, 0}, receive;
    DWORD got = 256;
    if (IFDHTransmitToICC(lun, send, apdu, 5 + (block ? block : length), rx, &got, &receive) != IFD_SUCCESS) return 0;
    return got;
}

RESPONSECODE IFDHControl(DWORD lun, DWORD code, PUCHAR tx, DWORD tx_length, PUCHAR rx, DWORD rx_length, LPDWORD returned) {
    if (code == CM_IOCTL_GET_FEATURE_REQUEST) {
        PCSC_TLV_STRUCTURE feature = {FEATURE_VERIFY_PIN_DIRECT, 4, htonl(VERIFY_CODE)};
        memcpy(rx, &feature, sizeof feature);
        *returned = sizeof feature;
        return IFD_SUCCESS;
    }
    if (code == VERIFY_CODE && tx_length >= sizeof(PIN_VERIFY_STRUCTURE)) {
        *returned = verify(lun, (const PIN_VERIFY_STRUCTURE *)tx, rx);
        return *returned ? IFD_SUCCESS : IFD_COMMUNICATION_ERROR;
    }
    *returned = 0;
    return IFD_ERROR_NOT_SUPPORTED;
}
